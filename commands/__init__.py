"""The command ``fine-tune``: one line for whatever a person or a script does with this project."""
