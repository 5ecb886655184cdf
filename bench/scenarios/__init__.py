"""What is measured of Placet, each scenario in a module with its kind."""
