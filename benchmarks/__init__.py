"""What is measured, each in fresh processes against the emulator; never a test."""
