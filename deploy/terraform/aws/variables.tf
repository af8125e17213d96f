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
  description = "Places of the region that stay shared (Pinecone, backups, analytics): settings and secret references."
  default     = {}
}

variable "vpc_id" {
  type = string
}

variable "private_subnet_ids" {
  type = list(string)
}

variable "client_security_group_ids" {
  type        = list(string)
  description = "Who may reach database and cache: the application, the lifecycle workers, the watchdog."
}

variable "kms_key_arn" {
  type = string
}

variable "bucket_prefix" {
  type    = string
  default = "lifecycle"
}

variable "database_class" {
  type    = string
  default = "db.r7g.large"
}

variable "database_storage_gb" {
  type    = number
  default = 100
}

variable "slot_wal_keep_mb" {
  type        = number
  description = "How much log a slot may hold back before it is given up; an alarm stands before it."
  default     = 51200
}

variable "cache_class" {
  type    = string
  default = "cache.r7g.large"
}

variable "cache_auth_token" {
  type      = string
  sensitive = true
}

variable "application_port" {
  type    = number
  default = 8080
}

variable "log_retention_days" {
  type    = number
  default = 90
}

variable "python" {
  type        = string
  description = "Not used here; given to every module."
  default     = ""
}

variable "checkout" {
  type        = string
  description = "Not used here; given to every module."
  default     = ""
}
