"""Where a model is: a folder, or the Hugging Face hub."""
