"""The next token of every job: penalties, draws, and what is told about them."""
