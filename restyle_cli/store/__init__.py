"""Where networks come from: name -> file -> network."""
