"""Colouring many photographs: planning a run, streaming photographs through it, journalling and resuming it."""
