"""What a language model says about documents, so that search finds them by other words: keywords, questions."""
