"""Command 3: measuring colorizers. Protocols, metrics, their intervals, tables and reports."""
