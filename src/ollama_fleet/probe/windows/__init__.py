"""The probe of a Windows host: one PowerShell script, a section per file, with what reads its answer."""
