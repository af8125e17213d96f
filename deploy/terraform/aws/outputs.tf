output "places" {
  description = "The green environment's places. Secrets are references into AWS Secrets Manager."

  value = merge(var.places, {
    postgresql = merge(lookup(var.places, "postgresql", {}), {
      host        = aws_db_instance.green.address
      secret      = "aws-sm:${aws_db_instance.green.master_user_secret[0].secret_arn}"
      certificate = aws_db_instance.green.ca_cert_identifier
    })
    s3 = merge(lookup(var.places, "s3", {}), {
      bucket = aws_s3_bucket.green.bucket
      region = var.region
    })
    redis = merge(lookup(var.places, "redis", {}), {
      host = aws_elasticache_replication_group.green.primary_endpoint_address
    })
    cloudwatch = merge(lookup(var.places, "cloudwatch", {}), {
      region = var.region
      group  = aws_cloudwatch_log_group.green.name
    })
    application = merge(lookup(var.places, "application", {}), {
      target_group = aws_lb_target_group.green.arn
    })
  })
}
