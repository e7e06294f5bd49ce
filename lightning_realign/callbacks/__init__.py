"""Lightning callbacks: prediction files, the record of a run, the guard of sweeps."""
