"""What the commands share: the flag `--json`, and files that they write. It knows no command."""
