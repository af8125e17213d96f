# What a move's green needs on the local stack: a schema for the move's marks, a marker in the bucket, an empty namespace.
# Only the built-in terraform_data is used, so nothing is downloaded. No secret comes in here or goes into the state:
# the program behind `python` reads addresses from the file named by PROVISION_PLACES.

terraform {
  required_version = ">= 1.6"
}

variable "migration" {
  type        = string
  description = "The move's id: small letters, digits and _."
}

variable "region" {
  type        = string
  description = "The region that green is made in."
}

variable "tenant" {
  type        = string
  description = "The tenant's id on the platform."
}

variable "places" {
  type        = map(map(string))
  description = "Where each system of the region is: settings and secret references, never a secret."
}

variable "python" {
  type        = string
  description = "The interpreter that runs lifecycle.provision.marks."
  default     = "python3"
}

variable "checkout" {
  type        = string
  description = "The folder in which lifecycle can be imported."
  default     = "."
}

locals {
  marks = {
    schema    = "postgresql"
    marker    = "s3"
    namespace = "pinecone"
  }
}

resource "terraform_data" "mark" {
  for_each = { for kind, system in local.marks : kind => system if contains(keys(var.places), system) }

  input = {
    kind     = each.key
    name     = var.migration
    python   = var.python
    checkout = var.checkout
  }

  provisioner "local-exec" {
    command     = "${self.input.python} -m lifecycle.provision.marks create ${self.input.kind} ${self.input.name}"
    working_dir = self.input.checkout
  }

  provisioner "local-exec" {
    when        = destroy
    command     = "${self.input.python} -m lifecycle.provision.marks destroy ${self.input.kind} ${self.input.name}"
    working_dir = self.input.checkout
  }
}

output "places" {
  description = "The green environment's places."
  value       = var.places
  depends_on  = [terraform_data.mark]
}
