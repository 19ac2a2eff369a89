// The Event Grid subscription by which suspended runs go on: the workspace's run-status events go to
// deployments/events.py, which has to be up and behind TLS before this: Azure shakes hands first.
//
//   az deployment group create --resource-group GROUP --template-file deployments/azure/events.bicep \
//     --parameters workspaceName=WORKSPACE host=YOUR_HOST key=FINETUNE_EVENTS_KEY
//
// Costs cents a month. Nobody has run it: it was written where no Azure subscription was to be had.
targetScope = 'resourceGroup'

@description('The Azure ML workspace, in this resource group.')
param workspaceName string

@description('Where deployments/events.py is reached from the internet, without https://.')
param host string

@description('FINETUNE_EVENTS_KEY of deployments/events.py; Azure keeps the address as a secret.')
@secure()
@minLength(16)
param key string

resource workspace 'Microsoft.MachineLearningServices/workspaces@2024-04-01' existing = {
  name: workspaceName
}

resource subscription 'Microsoft.EventGrid/eventSubscriptions@2022-06-15' = {
  name: 'fine-tune'
  scope: workspace
  properties: {
    destination: {
      endpointType: 'WebHook'
      properties: {
        endpointUrl: 'https://${host}/events?code=${uriComponent(key)}'
      }
    }
    eventDeliverySchema: 'EventGridSchema'
    filter: {
      includedEventTypes: [
        'Microsoft.MachineLearningServices.RunCompleted'
        'Microsoft.MachineLearningServices.RunStatusChanged'
      ]
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440
    }
  }
}
