# Green of a move in an AWS account: database, bucket, cache, log group, and the target group that takes its share of
# traffic. Written for a reader's own account; the checks format and read it, and never apply it.

terraform {
  required_version = ">= 1.6"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.60"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      managed-by = "tenant-lifecycle"
      migration  = var.migration
      tenant     = var.tenant
    }
  }
}

locals {
  name = "green-${replace(var.migration, "_", "-")}"
}

resource "aws_db_subnet_group" "green" {
  name       = local.name
  subnet_ids = var.private_subnet_ids
}

resource "aws_security_group" "green" {
  name        = local.name
  description = "Database and cache of a move's green"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "postgresql" {
  for_each = toset(var.client_security_group_ids)

  security_group_id            = aws_security_group.green.id
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_vpc_security_group_ingress_rule" "redis" {
  for_each = toset(var.client_security_group_ids)

  security_group_id            = aws_security_group.green.id
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}

# Logical replication in both directions; a lost connection is noticed within seconds.
resource "aws_db_parameter_group" "green" {
  name   = local.name
  family = "postgres17"

  parameter {
    name         = "rds.logical_replication"
    value        = "1"
    apply_method = "pending-reboot"
  }

  parameter {
    name         = "max_replication_slots"
    value        = "100"
    apply_method = "pending-reboot"
  }

  parameter {
    name         = "max_wal_senders"
    value        = "100"
    apply_method = "pending-reboot"
  }

  parameter {
    name         = "max_logical_replication_workers"
    value        = "100"
    apply_method = "pending-reboot"
  }

  parameter {
    name         = "max_worker_processes"
    value        = "120"
    apply_method = "pending-reboot"
  }

  parameter {
    name  = "wal_receiver_timeout"
    value = "5000"
  }

  parameter {
    name  = "max_slot_wal_keep_size"
    value = tostring(var.slot_wal_keep_mb)
  }
}

resource "aws_db_instance" "green" {
  identifier                          = local.name
  engine                              = "postgres"
  engine_version                      = "17"
  instance_class                      = var.database_class
  allocated_storage                   = var.database_storage_gb
  max_allocated_storage               = var.database_storage_gb * 4
  storage_type                        = "gp3"
  storage_encrypted                   = true
  kms_key_id                          = var.kms_key_arn
  db_name                             = "app"
  username                            = "lifecycle"
  manage_master_user_password         = true
  master_user_secret_kms_key_id       = var.kms_key_arn
  db_subnet_group_name                = aws_db_subnet_group.green.name
  vpc_security_group_ids              = [aws_security_group.green.id]
  parameter_group_name                = aws_db_parameter_group.green.name
  multi_az                            = true
  backup_retention_period             = 7
  deletion_protection                 = false
  skip_final_snapshot                 = false
  final_snapshot_identifier           = "${local.name}-final"
  iam_database_authentication_enabled = true
  performance_insights_enabled        = true
  auto_minor_version_upgrade          = false
}

resource "aws_s3_bucket" "green" {
  bucket = "${var.bucket_prefix}-${local.name}"
}

resource "aws_s3_bucket_versioning" "green" {
  bucket = aws_s3_bucket.green.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "green" {
  bucket = aws_s3_bucket.green.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "green" {
  bucket                  = aws_s3_bucket.green.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_elasticache_subnet_group" "green" {
  name       = local.name
  subnet_ids = var.private_subnet_ids
}

resource "aws_elasticache_replication_group" "green" {
  replication_group_id       = local.name
  description                = "Cache of a move's green"
  engine                     = "valkey"
  engine_version             = "8.0"
  node_type                  = var.cache_class
  num_cache_clusters         = 2
  automatic_failover_enabled = true
  multi_az_enabled           = true
  subnet_group_name          = aws_elasticache_subnet_group.green.name
  security_group_ids         = [aws_security_group.green.id]
  at_rest_encryption_enabled = true
  transit_encryption_enabled = true
  auth_token                 = var.cache_auth_token
}

resource "aws_cloudwatch_log_group" "green" {
  name              = "/lifecycle/${local.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

# Weights are set by the watchdog (lifecycle/traffic/alb.py). No stickiness: it would override weights.
resource "aws_lb_target_group" "green" {
  name                 = substr(local.name, 0, 32)
  port                 = var.application_port
  protocol             = "HTTP"
  target_type          = "ip"
  vpc_id               = var.vpc_id
  deregistration_delay = 5

  health_check {
    path                = "/healthz"
    interval            = 5
    timeout             = 2
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}
