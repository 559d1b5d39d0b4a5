"""The adaptive ladder: levels by what a job is expected to need still."""
