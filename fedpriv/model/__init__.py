"""The Keras network: layers, weights as one vector, the model digest."""
