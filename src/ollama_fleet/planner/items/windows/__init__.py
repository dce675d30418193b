"""Items of a Windows host that differ from a Linux host's."""
