"""The applier: what an owner's application wrote to S3 and Pinecone is brought to the region that follows.

Its own process (`manage.py applier`), stateless: what is to be done stands in the follower's `lifecycle.change`, what is
done in its `lifecycle.applied`. It goes on while the control database is down. No Django here.
"""
