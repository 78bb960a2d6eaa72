"""What was measured, for people and programs: report.json, images.csv and report.html."""
