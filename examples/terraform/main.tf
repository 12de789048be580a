# What `pgtls build` compiled, as Terraform sees it: facts and paths. Private keys stay in the out directory; what Terraform knows
# stands in its state in the clear.

terraform {
  required_version = ">= 1.5"
  required_providers {
    external = {
      source  = "hashicorp/external"
      version = ">= 1.2"
    }
  }
}

data "external" "pgtls" {
  program     = [var.pgtls, "terraform"]
  working_dir = path.module
  query = {
    spec    = var.spec
    include = "hba"
  }
}

locals {
  pgtls  = data.external.pgtls.result
  report = jsondecode(local.pgtls.report)

  # The answer is flat; its keys begin with the entity: "server.primary.not_after".
  entities = [for key in keys(local.pgtls) : trimsuffix(key, ".directory") if endswith(key, ".directory")]
  certificates = {
    for entity in local.entities : entity => {
      path      = local.pgtls["${entity}.path"]
      serial    = local.pgtls["${entity}.serial"]
      sha256    = local.pgtls["${entity}.sha256"]
      not_after = local.pgtls["${entity}.not_after"]
    } if contains(keys(local.pgtls), "${entity}.path")
  }
  servers = toset([for entity in local.entities : entity if startswith(entity, "server.")])
}

# A warning in every plan as long as the spec says more than was built, or something has come due.
check "built" {
  assert {
    condition     = local.pgtls.status == "ok"
    error_message = "${local.pgtls.changes} steps are not built yet: run pgtls build."
  }
}

# Runs once per server, and again only when one of its files has changed or the last run failed.
resource "terraform_data" "deploy" {
  for_each         = local.servers
  triggers_replace = local.pgtls["${each.key}.files_sha256"]

  provisioner "local-exec" {
    working_dir = path.module
    command     = var.deploy
    environment = {
      SERVER    = trimprefix(each.key, "server.")
      DIRECTORY = local.pgtls["${each.key}.directory"]
    }
  }
}
