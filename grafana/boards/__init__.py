"""The dashboards, a module each: what they show, in which order and why."""
