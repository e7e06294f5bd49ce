"""What the study runs: its trainings, sweeps and test runs, each as one command."""
