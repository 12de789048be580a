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
  description = "The command that installs $DIRECTORY on $SERVER. It must fail if the server refuses the files."
  type        = string
  # A new directory that only root can open, and nothing of it remains. `-o` gives the copies to root, not to the owner of the originals.
  default = <<-EOT
    tar -C "$DIRECTORY" -cf - . | ssh "root@$SERVER" \
        'd=$(mktemp -d) && trap "rm -rf \"\$d\"" EXIT && trap "exit 1" HUP INT TERM && tar -C "$d" -xof - && sh "$d/install.sh"'
  EOT
}
