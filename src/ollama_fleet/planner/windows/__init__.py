"""What is different on Windows: quoting, the state that only Windows has, and the plan of such a host."""
