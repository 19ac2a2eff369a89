"""From facts to a plan: rules, parameters, prices; nothing here asks Azure."""
