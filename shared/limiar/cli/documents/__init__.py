"""Documents from files: JSON lines, CSV, plain text and Markdown, read as they are asked for."""
