"""The number of replicas of each stage: the policy, and the reports that it decides by."""
