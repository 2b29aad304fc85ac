"""What training costs: its operations, what the hardware offers, what a compiled program needs."""
