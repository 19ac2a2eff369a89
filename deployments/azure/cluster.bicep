// The GPU cluster of the default preset, so that the flow's identity need not make one.
//
//   az deployment group create --resource-group GROUP --template-file deployments/azure/cluster.bicep \
//     --parameters workspaceName=WORKSPACE
//
// Scaled to zero it costs nothing; each running node of the default size is about 3.70 USD an hour.
// Nobody has run it: it was written where no Azure subscription was to be had.
targetScope = 'resourceGroup'

@description('The Azure ML workspace, in this resource group.')
param workspaceName string

@description('The compute.name of the run.')
@minLength(3)
@maxLength(24)
param clusterName string = 'gpu-cluster-a100'

@description('The compute.size of the run.')
param vmSize string = 'Standard_NC24ads_A100_v4'

@description('Most nodes at once.')
@minValue(1)
@maxValue(100)
param maxNodes int = 2

resource workspace 'Microsoft.MachineLearningServices/workspaces@2024-04-01' existing = {
  name: workspaceName
}

resource cluster 'Microsoft.MachineLearningServices/workspaces/computes@2024-04-01' = {
  parent: workspace
  name: clusterName
  location: resourceGroup().location
  properties: {
    computeType: 'AmlCompute'
    properties: {
      vmSize: vmSize
      vmPriority: 'Dedicated' // low-priority nodes were retired on 2026-03-31
      scaleSettings: {
        minNodeCount: 0
        maxNodeCount: maxNodes
        nodeIdleTimeBeforeScaleDown: 'PT2M'
      }
    }
  }
}
