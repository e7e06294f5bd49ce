"""What the study reports: its tables, figures and receipts."""
