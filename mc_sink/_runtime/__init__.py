"""Tools that know nothing of a delivery: threads, forks, disk, progress. Import the modules directly."""
