"""What runs where: pure decisions from what was asked, what is locked and what a host has."""
