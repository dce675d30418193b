"""Operations of Windows hosts, where they differ from Linux hosts': all of them are PowerShell."""
