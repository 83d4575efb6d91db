"""The networks and classical models behind the stages, one file each."""
