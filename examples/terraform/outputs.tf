output "status" {
  description = "ok, or changes where a build has something to do."
  value       = local.pgtls.status
}

output "steps" {
  description = "What that is."
  value       = [for step in local.report.steps : "${step.action} ${step.entity}: ${step.reason}"]
}

output "certificates" {
  description = "Every certificate: where it is, which it is, and when it ends."
  value       = local.certificates
}

output "next_renewal" {
  description = "When a build next has a certificate or CRL to renew."
  value       = local.pgtls.next_renewal
}

output "hba" {
  description = "Who may connect to each server: a change of access is a diff in the plan."
  value       = { for server in local.servers : server => local.pgtls["${server}.pg_hba.conf"] }
}
