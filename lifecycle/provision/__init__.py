"""Where green comes from: Terraform, or what stands already. No Django here."""
