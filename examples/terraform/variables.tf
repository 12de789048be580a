variable "pgtls" {
  description = "The pgtls program."
  type        = string
  default     = "pgtls"
}

variable "spec" {
  description = "The spec, relative to this module."
  type        = string
  default     = "pgtls.toml"
}

variable "deploy" {
  description = "The command that brings $DIRECTORY to $SERVER and reloads it."
  type        = string
  default     = "rsync -a --delete \"$DIRECTORY/\" \"root@$SERVER:/etc/postgresql/pgtls/\" && ssh \"root@$SERVER\" systemctl reload postgresql"
}
