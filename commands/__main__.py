"""``python -m commands``: the same as ``fine-tune``, where the package is not installed."""

from commands.app import main

main()
