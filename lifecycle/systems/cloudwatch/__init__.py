"""CloudWatch Logs, and the cleaned archives of lines too old to be put again."""
