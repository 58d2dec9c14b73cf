"""`limiar demo`: what the threshold does, over real parts and on your own questions."""
