"""Uplift evaluation: whom it pays to treat, judged on households that were treated or not by chance."""
