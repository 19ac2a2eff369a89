"""Programs of their own: started, watched, ended with the emulator."""
