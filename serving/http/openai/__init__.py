"""OpenAI's calls: the schemas of what is asked and answered, and the way between."""
