"""The runtime for AI agents under policy: propose, wait, run, complete."""
