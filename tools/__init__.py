"""What is written from the code and the locks: shell completion, man page, Kubernetes' copy of the rules, licences."""
