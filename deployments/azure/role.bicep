// What the flow's identity may do in the workspace: the actions of docs/azure-role.json, no other.
//
//   az deployment group create --resource-group GROUP --template-file deployments/azure/role.bicep \
//     --parameters workspaceName=WORKSPACE principalId=OBJECT_ID
//
// Costs nothing. Nobody has run it: it was written where no Azure subscription was to be had.
targetScope = 'resourceGroup'

@description('The Azure ML workspace, in this resource group.')
param workspaceName string

@description('Object id of the identity that runs the flow: a managed identity, a service principal.')
param principalId string

@description('ServicePrincipal for a managed identity too.')
@allowed([
  'ServicePrincipal'
  'User'
  'Group'
])
param principalType string = 'ServicePrincipal'

var role = loadJsonContent('../../docs/azure-role.json')

resource workspace 'Microsoft.MachineLearningServices/workspaces@2024-04-01' existing = {
  name: workspaceName
}

resource runner 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'fine-tune-runner')
  properties: {
    roleName: role.Name
    description: role.Description
    type: 'CustomRole'
    permissions: [
      {
        actions: role.Actions
        notActions: role.NotActions
        dataActions: role.DataActions
        notDataActions: role.NotDataActions
      }
    ]
    assignableScopes: [
      resourceGroup().id
    ]
  }
}

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, principalId, runner.id)
  scope: workspace
  properties: {
    roleDefinitionId: runner.id
    principalId: principalId
    principalType: principalType
  }
}
