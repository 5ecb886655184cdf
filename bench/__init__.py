"""How fast Placet decides, measured as ratios within one run. See README.md."""
