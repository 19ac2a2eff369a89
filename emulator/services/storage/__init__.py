"""The storage account: blobs, who may touch them, and the datastores that name them."""
