"""How long answers will be: hazards by age and by guessed length, learned while jobs run."""
