"""The page: one file that shows a fleet to people, made of the plan and, where asked for, of what is there now."""
